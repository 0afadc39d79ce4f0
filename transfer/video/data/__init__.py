"""Videos: which there are, decoding, clips, augmentation, samples."""
