"""Looking after what runs: databases in the cloud, pull requests, logs."""
