"""Reading labelled images in the forms in which people store them, and giving their labels the model's classes."""
