"""Images with objects: COCO's format, augmentation, samples."""
