"""Videos as data: finding them with their classes, decoding, choosing clips, augmentation, samples."""
