"""The files of a group: one namespace for all its processes, wherever they run.

`opening` is `rack.open`; `filesystem` is the fsspec file system behind `rack.fs` and `rack://`, and the only module
that imports fsspec. Both speak with the group's file service (`client`).
"""
