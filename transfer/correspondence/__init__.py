"""Semantic correspondence: where the keypoints of one image lie on another, by the nearest of an encoder's patches."""
