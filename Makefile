# AttriPrompt server. `make help` lists the targets.
#
# Build variants live in folders of their own:
#   make                          build/release/attriprompt
#   make SAN=address,undefined    build/address-undefined/attriprompt
#   make SAN=thread               build/thread/attriprompt
#   make WERROR=1                 warnings are errors
#   make V=1                      show the commands
#
# Installation takes the usual variables: make install PREFIX=/usr DESTDIR=/tmp/stage

CC ?= cc
comma := ,
VARIANT := $(if $(SAN),$(subst $(comma),-,$(SAN)),release)
B := build/$(VARIANT)

PKGS := libuv libmicrohttpd openblas jansson libjpeg libpng libwebp libwebpdemux libutf8proc nettle sqlite3
PKG_CONFIG ?= pkg-config
# Deferred, so that targets which need no compiler work before anything is installed.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell $(PKG_CONFIG) --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell $(PKG_CONFIG) --libs $(PKGS)))$(PKG_LIBS)

WARNINGS := -Wall -Wextra -Wshadow -Wundef -Wvla -Wwrite-strings -Wpointer-arith \
	-Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wno-unknown-warning-option -Wno-format-truncation \
	$(if $(WERROR),-Werror)
OPTIMISE := $(if $(SAN),-O1,-O3)
CFLAGS ?= -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -pthread $(OPTIMISE) -fno-omit-frame-pointer $(WARNINGS) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LDLIBS = $(PKG_LIBS) -lm

SOURCES := $(wildcard engine/base/*.c engine/*.c engine/train/*.c config/*.c server/*.c api/*.c api/rest/*.c api/cli/*.c \
	api/web/*.c)
MAIN := server/main.c
OBJECTS := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAIN),$(SOURCES)))
LIBRARY := $(B)/libattriprompt.a
PROGRAM := $(B)/attriprompt
# The same, but its workers can be made to hang: for tests only.
HOOKS := $(B)/attriprompt-hooks

# Where things are installed. Compiled in: $(modeldir).
PREFIX ?= /usr/local
prefix = $(PREFIX)
exec_prefix = $(prefix)
bindir = $(exec_prefix)/bin
datarootdir = $(prefix)/share
datadir = $(datarootdir)
docdir = $(datarootdir)/doc/attriprompt
sysconfdir = $(if $(filter /usr,$(prefix)),/etc,$(prefix)/etc)
unitdir = $(prefix)/lib/systemd/system
pkgdatadir = $(datadir)/attriprompt
modeldir = $(pkgdatadir)/models/emoji-clip
INSTALL = install
INSTALL_PROGRAM = $(INSTALL)
INSTALL_DATA = $(INSTALL) -m 644

MODEL := engine/models/emoji-clip
MODEL_FILES := $(wildcard $(MODEL)/*.*)
SAMPLES := $(wildcard $(MODEL)/samples/*)
INSTALLED := $(B)/installed

UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
BENCHES := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/bench_*.c))
CHECKERS := $(patsubst tests/golden/%.c,$(B)/golden/%,$(wildcard tests/golden/*.c))
FUZZ_REPLAYS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

# The kernels compiled for an instruction set that is chosen at run time. Products and sums may fuse
# (one rounding instead of two); nothing is reassociated.
KERNEL_FLAGS := -ffp-contract=fast
ifeq ($(shell uname -m),x86_64)
%/engine/kernels_avx2.o: KERNEL_FLAGS += -mavx2 -mfma
%/engine/kernels_avx512.o: KERNEL_FLAGS += -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma \
	-mprefer-vector-width=512
endif
%/engine/kernels_avx2.o %/engine/kernels_avx512.o %/engine/kernels_base.o: ISA_FLAGS = $(KERNEL_FLAGS)

# Targets that users type build on all cores, unless they say -j themselves.
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
Q := $(if $(V),,@)

.PHONY: all everything run demo test check lint sanitize fuzz fuzzers bench clean help format \
	install install-strip uninstall container-test FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAM)
	@:

everything: $(PROGRAM) $(HOOKS) $(UNIT_TESTS) $(BENCHES) $(FUZZ_REPLAYS)
	@:

help:
	@echo 'make              build $(PROGRAM)'
	@echo 'make run          install what is missing, build, serve the shipped model on port 8080'
	@echo 'make test         install what the tests need, build, run all of them'
	@echo 'make demo         classify the sample pictures'
	@echo 'make install      install below PREFIX (default /usr/local), staged in DESTDIR if given'
	@echo 'make uninstall    remove what was installed, but a configuration that was changed'
	@echo 'make check        run the tests of this variant without installing anything'
	@echo 'make sanitize     the tests under ASan+UBSan and under TSan'
	@echo 'make lint         format, include rules, file and function length, warnings as errors'
	@echo 'make fuzz         every fuzz target for FUZZ_SECONDS (default 300) each'
	@echo 'make container-test  build the image from the Dockerfile without a daemon, and try it (as root)'
	@echo 'make bench        build the benchmarks'

run:
	@deploy/setup.sh build run
	@$(SUBMAKE) all
	@deploy/run.sh $(PROGRAM)

demo:
	@deploy/setup.sh build
	@$(SUBMAKE) all
	@deploy/demo.sh $(PROGRAM)

test:
	@deploy/setup.sh build test
	@$(SUBMAKE) check

check: $(PROGRAM) $(HOOKS) $(UNIT_TESTS) $(CHECKERS) $(FUZZ_REPLAYS)
	@tests/run.py --build $(B)

sanitize:
	@deploy/setup.sh build test
	@$(SUBMAKE) SAN=address,undefined check
	@$(SUBMAKE) SAN=thread check

lint:
	@deploy/setup.sh build test lint
	@tests/lint/lint.py
	@/usr/bin/python3 -B -m pytest -q -p no:cacheprovider tests/lint
	@$(SUBMAKE) WERROR=1 B=build/werror-gcc CC=gcc everything
	@$(SUBMAKE) WERROR=1 B=build/werror-clang CC=clang everything

format:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

FUZZ_SECONDS ?= 300
fuzz:
	@deploy/setup.sh build lint
	@$(SUBMAKE) fuzzers
	@tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS)

container-test:
	@deploy/setup.sh container
	@deploy/container_test.sh

fuzzers: $(FUZZERS)
	@:

bench: $(PROGRAM) $(BENCHES)

clean:
	rm -rf build

$(PROGRAM): $(B)/server/main.o $(LIBRARY)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# What has hooks is linked in before the library's own object of that name is looked for.
$(HOOKS): $(B)/server/main.o $(B)/hooks/server/workers.o $(B)/hooks/tests/hooks/hold_worker.o $(LIBRARY)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/hooks/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -DATTRIPROMPT_TEST_HOOKS -MMD -MP -c -o $@ $<

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	@echo '  AR    $@'
	$(Q)$(AR) rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)$(CC) $(ALL_CFLAGS) $(ISA_FLAGS) -MMD -MP -c -o $@ $<

$(B)/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(LIBRARY) -lcmocka $(LDLIBS)

$(B)/golden/%: tests/golden/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

$(B)/bench/%: tests/bench/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< $(LIBRARY) $(LDLIBS)

# A fuzz target with a main that replays files, for any compiler and variant.
$(B)/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d $(ALL_LDFLAGS) -o $@ $< tests/fuzz/replay.c $(LIBRARY) \
		$(LDLIBS)

# The same target under libFuzzer: everything instrumented, by clang.
FUZZ_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -pthread -O1 -g -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all $(PKG_CFLAGS)
FUZZ_OBJECTS := $(patsubst %.c,build/fuzz/%.o,$(filter-out $(MAIN),$(SOURCES)))

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)clang $(FUZZ_CFLAGS) $(ISA_FLAGS) -MMD -MP -c -o $@ $<

build/fuzz/libattriprompt.a: $(FUZZ_OBJECTS)
	@rm -f $@
	@echo '  AR    $@'
	$(Q)$(AR) rcs $@ $^

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libattriprompt.a
	@echo '  LD    $@'
	$(Q)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< build/fuzz/libattriprompt.a \
		$(LDLIBS)

# ---- Installation ----

# The installed program differs in the place of the shipped model, which is an object of its own.
$(INSTALLED)/shipped.o: config/shipped.c config/shipped.h FORCE
	@mkdir -p $(@D)
	@echo '  CC    $@'
	$(Q)$(CC) $(ALL_CFLAGS) -DSHIPPED_MODEL='"$(modeldir)"' -c -o $@ $<

$(INSTALLED)/attriprompt: $(B)/server/main.o $(INSTALLED)/shipped.o $(LIBRARY)
	@echo '  LD    $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# Every option stands there with its default, as a comment.
$(INSTALLED)/attriprompt.conf: config/attriprompt.conf FORCE
	@mkdir -p $(@D)
	$(Q)sed -e '1a # Take away the # before a name to set it.' -e 's|^model = .*|model = $(modeldir)|' \
		-e 's/^[a-z]/# &/' $< >$@

$(INSTALLED)/attriprompt.service: deploy/attriprompt.service.in FORCE
	@mkdir -p $(@D)
	$(Q)sed -e 's|@bindir@|$(bindir)|' -e 's|@sysconfdir@|$(sysconfdir)|' -e 's|@docdir@|$(docdir)|' \
		$< >$@

# A configuration that is there already is its owner's.
install: $(addprefix $(INSTALLED)/,attriprompt attriprompt.conf attriprompt.service)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(bindir) $(modeldir)/samples $(docdir) $(sysconfdir) $(unitdir))
	$(INSTALL_PROGRAM) $(INSTALLED)/attriprompt $(DESTDIR)$(bindir)/attriprompt
	$(INSTALL_DATA) $(MODEL_FILES) $(DESTDIR)$(modeldir)
	$(INSTALL_DATA) $(SAMPLES) $(DESTDIR)$(modeldir)/samples
	$(INSTALL_DATA) README.md LICENSE $(INSTALLED)/attriprompt.conf $(DESTDIR)$(docdir)
	$(INSTALL_DATA) $(INSTALLED)/attriprompt.service $(DESTDIR)$(unitdir)
	test -e $(DESTDIR)$(sysconfdir)/attriprompt.conf || \
		$(INSTALL_DATA) $(INSTALLED)/attriprompt.conf $(DESTDIR)$(sysconfdir)

install-strip:
	$(MAKE) INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s' install

uninstall:
	! cmp -s $(DESTDIR)$(docdir)/attriprompt.conf $(DESTDIR)$(sysconfdir)/attriprompt.conf || \
		rm $(DESTDIR)$(sysconfdir)/attriprompt.conf
	rm -f $(DESTDIR)$(bindir)/attriprompt $(DESTDIR)$(unitdir)/attriprompt.service
	rm -f $(addprefix $(DESTDIR)$(docdir)/,README.md LICENSE attriprompt.conf)
	rm -f $(addprefix $(DESTDIR)$(modeldir)/samples/,$(notdir $(SAMPLES)))
	rm -f $(addprefix $(DESTDIR)$(modeldir)/,$(notdir $(MODEL_FILES)))
	rmdir $(addprefix $(DESTDIR),$(modeldir)/samples $(modeldir) $(pkgdatadir)/models $(pkgdatadir) \
		$(docdir)) 2>/dev/null || true

# What it embeds, which the compiler does not tell.
$(B)/api/web/web_page.o build/fuzz/api/web/web_page.o: api/web/index.html api/openapi.json

-include $(OBJECTS:.o=.d) $(B)/server/main.d $(B)/hooks/server/workers.d $(UNIT_TESTS:=.d) $(BENCHES:=.d) $(FUZZ_REPLAYS:=.d) $(CHECKERS:=.d)
-include $(FUZZ_OBJECTS:.o=.d)
