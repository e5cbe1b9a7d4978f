"""Face alignment: facial landmarks by heat maps."""
