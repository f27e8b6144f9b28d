# Installs everything that is not Python; what an RPM or an image layer would put there.
DESTDIR ?=

install:
	install -D -m 0644 -t $(DESTDIR)/usr/lib/systemd/system units/*
	install -D -m 0644 -t $(DESTDIR)/usr/lib/ocp-tuned-boot packaging/boot.conf

.PHONY: install
