"""Names that others gave: of any length, and of any language that a reader of the report might run."""
