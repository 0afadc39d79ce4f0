"""What a run is on disk: id, folder, record, fingerprint, environment; how runs are found; what run verbs share."""
