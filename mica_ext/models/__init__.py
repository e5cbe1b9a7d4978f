"""Parameters, camera, and the estimator from face crops to parameters."""
