"""Run records as rows over seeds, and whether they still say what their runs wrote."""
