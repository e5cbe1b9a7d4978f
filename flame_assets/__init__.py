"""Head models: FLAME's licensed files and Anthro, the head that needs no licence.

    from flame_assets.model.head_module import HeadDecoder, HeadParameters
    from flame_assets.store import load_head

    head = load_head("auto")                                # a converted FLAME, else Anthro
    mesh = HeadDecoder(head)(HeadParameters.zeros(head))    # vertices, joints, landmarks [m]

| room or module                 | what is there                                                  |
|--------------------------------|----------------------------------------------------------------|
| cli, commands, config          | the program `flame-assets`                                     |
| store, catalogue, heads_table  | heads and public files: those here, those there are            |
| download, fetch, fetch_ict     | FLAME's archives with an account, public files, ICT-FaceKit    |
| transfer                       | HTTP that is bounded in bytes and time                         |
| model                          | what a head is, on disk and as a torch module                  |
| formats                        | files of FLAME, GNM and ICT-FaceKit in, smplx's folder out      |
| anthro                         | the procedural head                                            |
| arkit                          | ARKit's expressions, as weights and joint rotations            |
| inert                          | bounded readers of other people's files, for all packages      |
| files, errors                  | folders that appear whole; one line for what a user can mend   |
"""
