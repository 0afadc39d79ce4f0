"""Pipeline and cluster files, checked before anything is started."""
