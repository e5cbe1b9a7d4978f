"""Parameters, camera, packs and the quality of a face, which all other rooms share."""
