"""The forms in which many images share a file: WebDataset shards, tables of the library `datasets`, parquet."""
