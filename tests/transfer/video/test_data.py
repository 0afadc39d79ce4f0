"""Videos in folders and in lists; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytorchvideo.data.labeled_video_paths import LabeledVideoPaths

from benchmarks.errors import UserError
from transfer.video.data.recipe import VideoData
from transfer.video.data.videos import VideoSets, read_videos


def found(root: Path, **settings: object) -> VideoSets:
    return read_videos(VideoData(root=str(root), **settings), None)


def listed(root: Path, train: str, test: str = "val/zumba/zval0.mp4 1\nval/air drumming/aval0.mp4 0\n") -> dict:
    (root / "train.csv").write_text(train)
    (root / "test.csv").write_text(test)
    return {"train_list": "train.csv", "test_list": "test.csv"}


def pairs(paths: LabeledVideoPaths) -> list[tuple[str, int]]:
    return [(path, info["label"]) for path, info in (paths[row] for row in range(len(paths)))]


def test_folders_are_read_as_pytorchvideo_reads_them(videos: Path) -> None:
    sets = found(videos)
    theirs = pairs(LabeledVideoPaths.from_directory(str(videos / "train")))
    assert [(str(video.path), video.label) for video in sets.train] == theirs
    assert sets.classes == ("air drumming", "zumba")
    assert str(sets.fingerprint).startswith("10 videos, content ")


@pytest.mark.parametrize("mark", [" ", "\t", ",", ", "])
def test_lists_are_read_as_pytorchvideo_reads_them(videos: Path, mark: str) -> None:
    rows = [f"train/{folder}/{folder[0]}train{k}.mp4" for k in (2, 0) for folder in ("zumba", "air drumming")]
    files = listed(videos, "".join(f"{row}{mark}{int('zumba' in row)}\n" for row in rows))
    (videos / "spaced.csv").write_text("".join(f"{row} {int('zumba' in row)}\n" for row in rows))
    theirs = pairs(LabeledVideoPaths.from_csv(str(videos / "spaced.csv")))
    ours = [(str(video.path.relative_to(videos)), video.label) for video in found(videos, **files).train]
    assert ours == theirs


def test_listed_paths_may_be_absolute_or_below_the_split(videos: Path, tmp_path: Path) -> None:
    elsewhere = (videos / "train" / "zumba" / "ztrain0.mp4").rename(tmp_path / "elsewhere.mp4")
    files = listed(videos, f"air drumming/atrain0.mp4 0\n{elsewhere} 1\n")
    assert [video.path for video in found(videos, **files).train] == [
        videos / "train" / "air drumming" / "atrain0.mp4",
        elsewhere,
    ]


def test_kinetics_own_csv(videos: Path) -> None:
    for number in range(2):
        (videos / "train" / "zumba" / f"ztrain{number}.mp4").rename(videos / "train" / f"-x{number}_000003_000013.mp4")
        (videos / "val" / "zumba" / f"zval{number}.mp4").rename(videos / "val" / f"y{number}_000100_000110.mp4")
    header = "label,youtube_id,time_start,time_end,split\n"
    train = header + "zumba,-x0,3,13,train\nair drumming,-x1,3,13,train\n"
    files = listed(videos, train, header + "air drumming,y1,100,110,val\nzumba,y0,100,110,val\n")
    sets = found(videos, **files)
    assert sets.classes == ("air drumming", "zumba")
    assert [(video.path.name, video.label) for video in sets.test] == [
        ("y1_000100_000110.mp4", 0),
        ("y0_000100_000110.mp4", 1),
    ]


def test_missing_videos_are_counted_named_and_left_out_up_to_a_limit(videos: Path) -> None:
    files = listed(videos, "zumba/ztrain0.mp4 1\nzumba/gone.mp4 1\nair drumming/atrain0.mp4 0\nlost.mp4 0\n")
    with pytest.raises(UserError, match=r"2 missing videos: zumba/gone\.mp4: not there (?s:.*)data\.max_missing=2"):
        found(videos, **files, max_missing=1)
    sets = found(videos, **files, max_missing=2)
    assert len(sets.train) == 2
    assert [text.partition(":")[0] for text in sets.missing] == ["zumba/gone.mp4", "lost.mp4"]


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("zumba/ztrain0.mp4 1\nair drumming/atrain0.mp4 99\n", "a class number; 2 videos cannot show 100 classes"),
        ("zumba/ztrain0.mp4 -1\nair drumming/atrain0.mp4 0\n", "from 0 to 0"),
        ("zumba/ztrain0.mp4 0\nzumba/ztrain0.mp4 1\n", "twice: zumba/ztrain0.mp4"),
        ("zumba/ztrain0.mp4 0\ntrain/zumba/ztrain0.mp4 1\n", "one label per video"),
        ("1\n0\n", "a path and its label in every line"),
        ("a.mp4 0\nb.mp4 1\n", "none of 2 videos is there"),
        ("zumba/ztrain0.mp4 0\nzumba/ztrain1.mp4 2\nair drumming/atrain0.mp4 2\n", "no video of 1"),
        ("", "at least one line"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(videos: Path, train: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        found(videos, **listed(videos, train))
    assert said in str(caught.value)


def test_folders_that_do_not_fit_are_refused(videos: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=FOLDER"):
        found(videos, train="none")
    (videos / "val" / "zumba").rename(videos / "val" / "salsa")
    with pytest.raises(UserError, match=r"salsa in .*val\n  rule:   classes of the training videos"):
        found(videos)
    (videos / "train" / "salsa").mkdir()
    with pytest.raises(UserError, match=r"train/salsa\n  rule:   at least one video"):
        found(videos)
    with pytest.raises(ValueError, match="train_list and test_list together"):
        VideoData(train_list="train.csv")


def test_the_fingerprint_tells_copies_apart(videos: Path) -> None:
    before = str(found(videos).fingerprint)
    assert str(found(videos).fingerprint) == before
    path = found(videos).train[0].path
    path.write_bytes(path.read_bytes() + b"\0")
    assert str(found(videos).fingerprint) != before
    texts = [listed(videos, f"zumba/ztrain0.mp4 {a}\nair drumming/atrain0.mp4 {1 - a}\n") for a in (0,)]
    one = str(found(videos, **texts[0]).fingerprint)
    swapped = listed(videos, "zumba/ztrain0.mp4 1\nair drumming/atrain0.mp4 0\n")
    assert str(found(videos, **swapped).fingerprint) != one, "other labels, other data"
