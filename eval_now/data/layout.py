"""Folder and file names of the NoW data, and instructions for getting it.

Imports nothing heavy: the command line reads it.
"""

from typing import Literal

Split = Literal["val", "test"]
ENVIRONMENT_VARIABLE = "NOW_DATASET"
LISTS: dict[Split, str] = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
PICTURES, BOXES = "iphone_pictures", "detected_face"
SCANS, SCAN_LANDMARKS = "scans", "scans_lmks_onlypp"

HOW_TO_GET = f"""\
How to get the NoW benchmark data

1. Register at https://now.is.tue.mpg.de and accept its licence (non-commercial research).
2. From its download page take
     the images:            NoW_Dataset.zip, with {PICTURES}/ and {BOXES}/
     the image lists:       {LISTS["val"]} and {LISTS["test"]}
     the validation scans:  {SCANS}/ and {SCAN_LANDMARKS}/ (the 80 test subjects' scans are not
     public)
3. Unpack everything into one folder:
     DIR/NoW_Dataset/final_release_version/{PICTURES}/SUBJECT/CHALLENGE/IMG_0001.jpg
     DIR/NoW_Dataset/final_release_version/{BOXES}/SUBJECT/CHALLENGE/IMG_0001.npy
     DIR/{SCANS}/SUBJECT/natural_head_rotation.000001.obj
     DIR/{SCAN_LANDMARKS}/SUBJECT/natural_head_rotation.000001_picked_points.pp
     DIR/{LISTS["val"]}
   (the parts may also lie directly in DIR, all below NoW_Dataset, or as the official evaluator
   wants them, in DIR/NoW_Evaluation/dataset)
4. eval-now --dataset DIR ...   or   export {ENVIRONMENT_VARIABLE}=DIR

Without the data: `mica-ext synth-now DIR` writes a small artificial set in the same layout.
"""


def print_instructions(_config: object) -> None:
    """`eval-now data`: print how to get the data."""
    print(HOW_TO_GET)
