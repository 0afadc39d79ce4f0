"""What a run is on disk: id, folder, record, data fingerprint, environment; how runs are found; what every verb that makes one shares."""
