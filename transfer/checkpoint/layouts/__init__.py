"""In which layouts encoders lie in files, and how each becomes timm's."""
