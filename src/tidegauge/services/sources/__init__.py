"""Where data and metrics come from: files of Datasets, logs of other clusters, functions of users."""
