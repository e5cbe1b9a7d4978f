"""Random changes of face pictures, shared by all trainings on photos."""
