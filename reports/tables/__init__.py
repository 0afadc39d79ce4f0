"""Tables of columns and cells, and the formats made of them that have no pictures: text, Markdown, LaTeX, data."""
