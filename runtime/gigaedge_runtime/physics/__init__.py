"""The physical cell: two PiPER arms, a table and what stands on it, in MuJoCo, with three cameras.

`scene` says what is there, `model` writes it as MJCF, `world` lets it move and takes its pictures. Needs the extra
`sim`. Frames are those of the whole project: z up, the table at z = 0, the arms look along x.
"""
