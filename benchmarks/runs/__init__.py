"""What a run is on disk: id, folder, record, data fingerprint, environment; what every verb that makes one shares."""
