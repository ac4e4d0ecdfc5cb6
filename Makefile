# `make demo` trains on handwritten digits; `make test` runs every test. Both install a software Vulkan first where
# there is no GPU driver and this is a Debian or Ubuntu with the rights to do so; `make test` also ONNX Runtime for Python,
# below `target`.

CARGO ?= cargo
OUT ?= runs/demo

.PHONY: demo test vulkan lint doc

demo: vulkan
	$(CARGO) run --release --quiet -- train --data digits --model mlp:64 --optimizer adam --epochs 100 --seed 1 --out $(OUT) --overwrite

test: vulkan
	DOWNHILL_PYTHON=$$(sh scripts/provide-onnxruntime) $(CARGO) test --all-targets
	$(CARGO) test --doc

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

vulkan:
	@sh scripts/provide-vulkan
