"""`ocp-tuned-boot render`: writes one document that puts image, profiles and `boot.conf` on a node
before its first boot.

`content` reads what is to be put there and names the files; each format is a module, a pure
function of that; `forms` has them by name. The same content gives the same bytes.
"""
