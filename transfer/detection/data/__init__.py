"""Images with objects: reading COCO's format, augmentation, samples for training and test."""
