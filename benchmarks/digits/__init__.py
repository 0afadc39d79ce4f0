"""The embedded data set, as folders of images, scenes to segment, objects to detect and videos of motions."""
