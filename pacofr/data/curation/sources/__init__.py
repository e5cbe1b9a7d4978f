"""What curation reads: folders of photos, tars, LAION-Face's detections."""
