# `make demo` trains on handwritten digits; `make test` runs every test. Both install a software Vulkan first where
# there is no GPU driver and this is a Debian or Ubuntu with the rights to do so; `make test` also ONNX Runtime for Python,
# below `target`. `make install` puts the C libraries below PREFIX, `make check-c` builds and runs the C example with them,
# and `make check-paint` the window example on a virtual display.
# `make header` and `make api` write anew what tests hold the sources against.

CARGO ?= cargo
OUT ?= runs/demo
PREFIX ?= /usr/local

.PHONY: demo test vulkan lint doc install header check-c check-paint api check-api weight

demo: vulkan
	$(CARGO) run --release --quiet -- train --data digits --model mlp:64 --optimizer adam --epochs 100 --seed 1 --out $(OUT) --overwrite

test: vulkan
	DOWNHILL_PYTHON=$$(sh scripts/provide-onnxruntime) $(CARGO) test --all-targets --features capi
	$(CARGO) test --doc --features capi

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --features capi -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --features capi

install:
	@sh scripts/install "$(PREFIX)"

header:
	DOWNHILL_WRITE_HEADER=1 $(CARGO) test --features capi --test c_header

# The public items: written, and held against what is written.
api:
	@sh scripts/check-api --write

check-api:
	@sh scripts/check-api

weight:
	@sh scripts/weight

check-c: vulkan
	@sh scripts/check-c

check-paint: vulkan
	@sh scripts/check-paint

vulkan:
	@sh scripts/provide-vulkan
