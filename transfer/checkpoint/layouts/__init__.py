"""The layouts in which files hold encoders: how each is recognised, and how it is turned into timm's."""
