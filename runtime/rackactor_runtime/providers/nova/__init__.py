"""Virtual machines of an OpenStack cloud: the only package that imports openstacksdk."""
