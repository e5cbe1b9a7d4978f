"""Training of the dense landmark network on the points of a teacher."""
