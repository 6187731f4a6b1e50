# SPDX-License-Identifier: GPL-2.0-only
# One bindgen run for what the kernel's own bindings lack.
#
# The compiler flags that libclang does not know are those that the kernel's own run leaves out.
kx_skip_c_flags := $(shell sed -n '/^bindgen_skip_c_flags/,/[^\\]$$/p' $(srctree)/rust/Makefile | \
	sed 's/.*:= //; s/\\$$//')

kx_lists := $(sort $(wildcard $(src)/rust/bindings/*.list))
kx_sources := $(wildcard $(src)/rust/bindings/*.h) $(wildcard $(src)/rust/helpers/*.h)
kx_pick = $(subst $(kx_space),|,$(strip $(shell sed -n 's/^$(1) //p' $(kx_lists))))
kx_empty :=
kx_space := $(kx_empty) $(kx_empty)

kx_c_flags = $(filter-out $(kx_skip_c_flags), $(c_flags)) -w --target=x86_64-linux-gnu

quiet_cmd_kx_bindgen = BINDGEN $(quiet_modtag) $@
      cmd_kx_bindgen = mkdir -p $(dir $@); $(BINDGEN) $< --rust-target 1.85 --use-core --ctypes-prefix ffi \
	--no-layout-tests --no-debug '.*' --no-doc-comments --enable-function-attribute-detection \
	--no-recursive-allowlist --opaque-type '$(call kx_pick,opaque)' \
	--raw-line 'use kernel::bindings::*; use kernel::ffi;' \
	--allowlist-function '$(call kx_pick,function)|kx_.*' --allowlist-type '$(call kx_pick,type)' \
	--allowlist-var 'RUST_CONST_HELPER_.*' \
	-o $@ -- $(kx_c_flags) -fno-builtin -D__BINDGEN__ -DMODULE ; \
	sed -Ei 's/pub const RUST_CONST_HELPER_([a-zA-Z0-9_]*)/pub const \1/g' $@

$(obj)/rust/bindings_generated.rs: $(src)/rust/bindings/bindings_helper.h $(kx_sources) $(kx_lists) FORCE
	$(call if_changed_dep,kx_bindgen)
targets += rust/bindings_generated.rs
