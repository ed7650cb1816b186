"""The QEMU lab: images, warm snapshots and guests. `cli` is the way in.

tools     what the host needs, installed or named
paths     where everything lies, and the locks around it
catalog   the servers a guest can have: a further one is one entry
image     Debian packages -> kernel, initrd, root file system
qemu      one QEMU process: its arguments, its monitor, its end
ssh       keys, and commands in a guest
warm      an image booted and provisioned once, kept with its memory
guest     what `up`, `kill` and `down` do
prune     old cache entries go
"""
