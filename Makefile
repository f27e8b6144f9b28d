# make demo     boots a node here and shows what that proves (BOOTS=N: medians over N boots)
# make bench    boots it with this program and with what it replaces, in turns (BOOTS=N: of each)
# make shell    boots such a node and starts a root shell in it
# make cluster  boots a cluster of two nodes, shows that Tuned objects work in it, and starts a shell
#               with kubectl (the first time it builds Kubernetes)
# make test     runs all tests except those that need an emulated machine
# make unit     runs the linters, the type checker and the unit tests (TESTS=: only these)
# make lab      runs the tests that boot nodes (TESTS=: only these)
# make slow     runs the unit tests on more Pythons, the tests that need an emulated machine (reboots
#               and power cuts) or a cluster, and the long loops of the lab (TESTS=: only these)
# make matrix   runs the lab on all versions of systemd, Podman, TuneD and Python that Debian has, and
#               earlier programs beside this one; writes docs/versions.md (TESTS=: options of pytest)
# make lab-loaded  runs the lab while the machine is busy with something else
# make fuzz     searches for half an hour for files with which a pod could do harm
# make man      makes the manuals from man/*.rst, in build/man
# make completion  writes the completions for bash, zsh and fish from the table of commands
# make install  installs what the RPM has (DESTDIR=); install-data: all except the Python package
# make uninstall  removes what install of the same tree installs (DESTDIR=)
# make rpm      builds the source archive, the source RPM and the RPM, in dist/
# make deb      builds the package for Debian, in dist/
# make release  builds these, the wheel, the manuals and the checksums (packages: docs/hacking.md)
#
# demo, shell, cluster and the tests need Debian and root. They install Debian packages on this
# machine.
# Everything else is in OCP_TUNED_LAB_CACHE, outside the tree, and is rebuilt when its sources change.

SHELL = /bin/bash
MAKEFLAGS += --no-print-directory
DESTDIR ?=
export OCP_TUNED_LAB_CACHE ?= /var/cache/ocp-tuned-boot-lab

# The environment of the tests: what pyproject.toml names, one for each content of it and each
# release of Debian, and with it of Debian's Python. (Python itself cannot be asked: it may not be
# installed yet.) The program is not in it: python -m takes that from this tree. A bare machine
# (tests/lab/bare.py) has one of its own: what compiled another one may not be installed there.
VENV := $(OCP_TUNED_LAB_CACHE)/python-$(shell \
    { cat pyproject.toml /etc/os-release; echo $(OCP_TUNED_LAB_MACHINE); } | sha256sum | cut -c1-16)
PYTEST = $(VENV)/bin/python -m pytest

# The first target: make without a target changes nothing on this machine.
help:
	@sed -n '/^#/!q; s/^# \?//p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/done
	$(VENV)/bin/python -m tests.lab.demo $(if $(BOOTS),--boots $(BOOTS))

bench: $(VENV)/done
	$(VENV)/bin/python -m tests.lab.bench $(if $(BOOTS),--boots $(BOOTS))

shell: $(VENV)/done
	@$(VENV)/bin/python -m tests.lab.shell

cluster: $(VENV)/done
	@$(VENV)/bin/python -m tests.lab.clusterdemo

# In parallel: the lab mostly waits for its nodes.
test: $(VENV)/done
	$(MAKE) --jobs=2 oldest-python lab

unit: $(VENV)/done
	$(PYTEST) $(TESTS)

oldest-python: unit
	nice $(VENV)/bin/python -m tests.on_every_python 3.9

lab: $(VENV)/done
ifdef TESTS
	$(PYTEST) -m "lab and not slow" $(TESTS)
else
	$(PYTEST) -m "lab and alone" tests
	$(PYTEST) -m "lab and not slow and not alone" --numprocesses=2 --dist=loadfile --durations=25 tests
endif

# No test may depend on how fast the machine is: the lab beside twelve loops that never rest.
lab-loaded: $(VENV)/done
	for i in {1..12}; do nice -n 5 timeout 7200 sh -c 'while :; do :; done' & done; \
	trap 'kill $$(jobs -p)' EXIT; $(MAKE) lab

slow: $(VENV)/done
ifdef TESTS
	$(PYTEST) -m slow -s $(TESTS)
else
	apt-get update -q
	grep -v '^#' tests/lab/packages-vm.txt | xargs apt-get install -qy --no-install-recommends
	$(VENV)/bin/python -m tests.on_every_python
	$(PYTEST) -m slow -s tests
endif

matrix: $(VENV)/done
	$(VENV)/bin/python -m tests.lab.matrix $(TESTS)

fuzz: $(VENV)/done
	HYPOTHESIS_PROFILE=long nice -n 19 $(PYTEST) --hypothesis-show-statistics \
	    tests/unit/test_untrusted.py tests/unit/test_memory.py

completion: $(VENV)/done
	$(VENV)/bin/python packaging/completion.py packaging/completions

# The environment may be in the cache already when this machine has none of the packages.
$(VENV)/done: | packages
	/usr/bin/python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q $$(/usr/bin/python3 -B tests/requirements.py test agent lint)
	touch $@

packages:
	@packages=$$(grep -v '^#' tests/lab/packages.txt); \
	if dpkg-query --show --showformat='$${db:Status-Status}\n' $$packages 2>&1 | grep -qvx installed; \
	then apt-get update -q && apt-get install -qy --no-install-recommends $$packages; fi

# With docutils of the distribution. What it warns of is an error.
MANUALS := $(patsubst man/%.rst,build/man/%,$(wildcard man/*.rst))
man: $(MANUALS)
build/man/%: man/%.rst
	mkdir -p build/man
	rst2man --strict $< $@
	# Names of files are not hyphenated: they are copied from the page.
	sed -i '/^\.TH /a .nh' $@

install: install-python install-data

# With the distribution's own setuptools and installer: no pip, no network. The variable selects
# Debian's layout; on other distributions it has no effect. Modules of another release are removed
# before: installer replaces no file, and Python would still find a module that does not exist any more.
PURELIB = $(shell DEB_PYTHON_INSTALL_LAYOUT=deb_system python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
install-python:
	rm -rf build/lib build/wheel && mkdir -p build/wheel
	python3 -W ignore -c 'from setuptools import build_meta; build_meta.build_wheel("build/wheel")'
	cd $(DESTDIR)$(PURELIB) 2>/dev/null && rm -rf ocp_tuned_boot ocp_tuned_boot-*.dist-info || :
	DEB_PYTHON_INSTALL_LAYOUT=deb_system python3 -m installer --destdir=$(DESTDIR)/ build/wheel/*.whl
	# The node agent runs in a pod, from an image of its own (packaging/agent).
	rm -f $(DESTDIR)/usr/bin/ocp-tuned-agent

# Debian's zsh does not look into site-functions.
ZSH_FOLDER := $(if $(wildcard /etc/debian_version),vendor-completions,site-functions)
install-data: man
	install -d -m 0755 $(DESTDIR)/usr/lib/systemd/system
	umask 022 && cp -r --no-dereference --no-preserve=mode units/. $(DESTDIR)/usr/lib/systemd/system
	install -D -m 0644 packaging/ocp-tuned-one-shot.conf \
	    $(DESTDIR)/usr/lib/systemd/system/ocp-tuned-one-shot.service.d/50-ocp-tuned-boot.conf
	install -D -m 0644 -t $(DESTDIR)/usr/lib/systemd/system-preset packaging/80-ocp-tuned-boot.preset
	install -D -m 0644 packaging/tmpfiles.conf $(DESTDIR)/usr/lib/tmpfiles.d/ocp-tuned-boot.conf
	install -D -m 0644 -t $(DESTDIR)/usr/lib/ocp-tuned-boot packaging/boot.conf \
	    packaging/containers.conf
	install -D -m 0644 -t $(DESTDIR)/usr/lib/systemd/catalog packaging/ocp-tuned-boot.catalog
	install -D -m 0755 -t $(DESTDIR)/usr/bin packaging/ocp-tuned-boot
	install -D -m 0755 packaging/gate.sh $(DESTDIR)/usr/libexec/ocp-tuned-boot/gate
	install -D -m 0644 -t $(DESTDIR)/usr/share/bash-completion/completions packaging/completions/ocp-tuned-boot
	install -D -m 0644 -t $(DESTDIR)/usr/share/zsh/$(ZSH_FOLDER) packaging/completions/_ocp-tuned-boot
	install -D -m 0644 -t $(DESTDIR)/usr/share/fish/vendor_completions.d packaging/completions/ocp-tuned-boot.fish
	install -D -m 0644 -t $(DESTDIR)/usr/share/man/man5 build/man/*.5
	install -D -m 0644 -t $(DESTDIR)/usr/share/man/man8 build/man/*.8
	install -d -m 0755 $(DESTDIR)/usr/share/ocp-tuned-boot/images $(DESTDIR)/etc/ocp-tuned-boot/boot.conf.d
	@echo 'journalctl -x shows the explanations of the messages after: journalctl --update-catalog'

# The list of files is that of an install into an empty directory. Only directories of this program
# are removed, and only if nothing else is in them.
uninstall:
	rm -rf build/installed
	$(MAKE) install DESTDIR=$(CURDIR)/build/installed
	cd build/installed && find . ! -type d -printf '$(DESTDIR)/%P\0' | xargs -0 rm -f --
	cd build/installed && find . -depth -type d -path '*/ocp[-_]tuned*' -printf '$(DESTDIR)/%P\0' | \
	    while read -rd '' folder; do \
	        rm -rf "$$folder/__pycache__"; \
	        [ ! -d "$$folder" ] || rmdir --ignore-fail-on-non-empty "$$folder"; \
	    done

# Builds what is committed, with the date of the commit, so that two builds give the same bytes.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' ocp_tuned_boot/__init__.py)
NAME := ocp-tuned-boot-$(VERSION)
source rpm deb release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

source:
	mkdir -p dist
	git archive --format=tar --prefix=$(NAME)/ HEAD | gzip -9n > dist/$(NAME).tar.gz
	sed -e 's/^\(Version: *\).*/\1$(VERSION)/' \
	    -e "s/^\* .* \(The .* - \)0-1/* $$(date -u -d @$$SOURCE_DATE_EPOCH '+%a %b %d %Y') \1$(VERSION)-1/" \
	    rpm.spec > dist/ocp-tuned-boot.spec

# Debian has neither the macros nor, in rpm's database, the packages that are required. (Not --load=:
# rpm 4.20 forgets the macros that it has loaded.)
MACROS = $(shell rpm --showrc | sed -n 's/^Macro path: //p'):$(CURDIR)/packaging/debian.rpmmacros
ON_DEBIAN = $(if $(wildcard /etc/debian_version),--nodeps --macros='$(MACROS)')

rpm: source
	LC_ALL=C.UTF-8 rpmbuild -ba --quiet $(ON_DEBIAN) --define '_topdir $(CURDIR)/build/rpm' \
	    --define '_sourcedir $(CURDIR)/dist' --define '_srcrpmdir $(CURDIR)/dist' \
	    --define '_rpmdir $(CURDIR)/dist' --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
	    $(RPMBUILD_FLAGS) dist/ocp-tuned-boot.spec

# From packaging/debian. The version and the day are filled in, as in rpm.spec.
deb: source
	rm -rf build/deb && mkdir -p build/deb
	tar --extract --file=dist/$(NAME).tar.gz --directory=build/deb
	cp -r packaging/debian build/deb/$(NAME)/debian
	printf '%s\n\n  * See NEWS.md.\n\n -- %s  %s\n' 'ocp-tuned-boot ($(VERSION)) unstable; urgency=medium' \
	    "$$(sed -n 's/^Maintainer: //p' packaging/debian/control)" \
	    "$$(LC_ALL=C date -u -R -d @$$SOURCE_DATE_EPOCH)" > build/deb/$(NAME)/debian/changelog
	cd build/deb/$(NAME) && dpkg-buildpackage --build=binary --no-sign
	mv build/deb/*.deb dist/

# The wheel and the manuals are also built from the source archive.
release:
	$(MAKE) clean
	$(MAKE) rpm
	tar --extract --file=dist/$(NAME).tar.gz --directory=build
	cd build/$(NAME) && \
	    python3 -W ignore -c 'from setuptools import build_meta; build_meta.build_wheel("../../dist")' && \
	    cd man && for page in *.rst; do rst2html5 --strict $$page ../../../dist/$${page%.rst}.html || exit; done
	cd dist && sha256sum * > SHA256SUMS

clean:
	rm -rf build dist

.PHONY: help demo bench shell cluster test unit oldest-python lab lab-loaded slow matrix fuzz packages completion man install install-python install-data \
    uninstall source rpm deb release clean
