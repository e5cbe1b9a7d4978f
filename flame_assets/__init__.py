"""Head models: FLAME's licensed files and Anthro, the head that needs no licence.

    from flame_assets.model.head_module import HeadDecoder, HeadParameters
    from flame_assets.store import load_head

    head = load_head("auto")                          # a converted FLAME, else Anthro
    mesh = HeadDecoder(head)(HeadParameters.zeros(head))    # vertices, joints, landmarks [m]

head.py says what a head is and head_files.py how it lies on disk; lbs.py, landmarks.py and flame.py
pose it; convert.py makes one of FLAME's files, which inert_pickle.py and plain_arrays.py read as
data only; store.py keeps heads by name; fingerprint.py tells one head from another; contour_side.py
tells which way a contour table looks; download.py and export_smplx.py are the doors in and out.
"""
