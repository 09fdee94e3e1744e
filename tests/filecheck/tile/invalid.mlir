// RUN: attnc-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: a buffer lies in one of dram, sram, acc, not cache
func.func @main(%a: !tile.buffer<cache, 4xf32>) { func.return }

// -----

// CHECK: no stored format for elements of type f64
func.func @main(%a: !tile.buffer<sram, 4xf64>) { func.return }

// -----

// CHECK: a weight names its constant by key, and nothing else does
func.func @main() {
  %w = tile.tensor weight "w" : !tile.buffer<dram, 4xf32>
  func.return
}

// -----

// CHECK: tile.alloc makes on-chip buffers
func.func @main() {
  %a = tile.alloc : !tile.buffer<dram, 4xf32>
  func.return
}

// -----

// CHECK: a buffer on chip keeps its space and shape
func.func @main(%a: !tile.buffer<acc, 4xi32>) {
  %b = tile.retype %a : !tile.buffer<acc, 4xi32> to !tile.buffer<sram, 4xf32>
  func.return
}

// -----

// CHECK: i32 and bf16 are not of one width
func.func @main(%a: !tile.buffer<acc, 4xi32>) {
  %b = tile.retype %a : !tile.buffer<acc, 4xi32> to !tile.buffer<acc, 4xbf16>
  func.return
}

// -----

// CHECK: a copy goes between dram and a chip memory
func.func @main(%a: !tile.buffer<sram, 4xf32>) {
  tile.copy %a<0 [4] [1]> to %a<0 [4] [1]>
  func.return
}

// -----

// CHECK: a copy does not convert: f32 to bf16
func.func @main(%a: !tile.buffer<dram, 4xf32>, %b: !tile.buffer<sram, 4xbf16>) {
  tile.copy %a<0 [4] [1]> to %b<0 [4] [1]>
  func.return
}

// -----

// CHECK: a count is that of a load whose outermost extent is fixed
func.func @main(%a: !tile.buffer<dram, 4xf32>, %b: !tile.buffer<sram, 4xf32>, %n: !tile.buffer<sram, 1xi32>) {
  tile.copy %b<0 [4] [1]> to %a<0 [4] [1]> count %n<0 [1] [1]>
  func.return
}

// -----

// CHECK: needs 1 loops, 0 enclose it
func.func @main(%a: !tile.buffer<dram, 4xf32>, %b: !tile.buffer<sram, 4xf32>) {
  tile.copy %a<d0 [4] [1]> to %b<0 [4] [1]>
  func.return
}

// -----

// CHECK: sizes of a product disagree
func.func @main(%a: !tile.buffer<sram, 4x4xf32>, %c: !tile.buffer<acc, 4x4xf32>) {
  tile.product f32 %a<0 [4, 4] [4, 1]> by %a<0 [2, 4] [4, 1]> into %c<0 [4, 4] [4, 1]>
  func.return
}

// -----

// CHECK: indices have the sizes of b
func.func @main(%a: !tile.buffer<sram, 4x4xf32>, %i: !tile.buffer<sram, 4x4x!bnn.uint<2>>, %c: !tile.buffer<acc, 4x4xf32>) {
  tile.structured "2:4" f32 %a<0 [4, 4] [4, 1]> by %a<0 [2, 4] [4, 1]> into %c<0 [4, 4] [4, 1]> at %i<0 [4, 4] [4, 1]>
  func.return
}

// -----

// CHECK: sizes of a product disagree
func.func @main(%a: !tile.buffer<sram, 4x4xf32>, %i: !tile.buffer<sram, 4x4x!bnn.uint<2>>, %c: !tile.buffer<acc, 4x4xf32>) {
  tile.structured "2:4" f32 %a<0 [4, 4] [4, 1]> by %a<0 [4, 4] [4, 1]> into %c<0 [4, 4] [4, 1]> at %i<0 [2, 4] [4, 1]>
  func.return
}

// -----

// CHECK: indices of 2:4 are u2
func.func @main(%a: !tile.buffer<sram, 4x4xf32>, %c: !tile.buffer<acc, 4x4xf32>) {
  tile.structured "2:4" f32 %a<0 [4, 4] [4, 1]> by %a<0 [2, 4] [4, 1]> into %c<0 [4, 4] [4, 1]> at %a<0 [2, 4] [4, 1]>
  func.return
}

// -----

// CHECK: acc must lie in acc, not in sram
func.func @main(%a: !tile.buffer<sram, 4x4xf32>) {
  tile.product f32 %a<0 [4, 4] [4, 1]> by %a<0 [4, 4] [4, 1]> into %a<0 [4, 4] [4, 1]>
  func.return
}

// -----

// CHECK: streams and output of a pass are [rows, columns] with contiguous rows
func.func @main(%a: !tile.buffer<sram, 4x4xf32>) {
  tile.pass "out a" over 4 by 4 stream %a<0 [4, 4] [1, 4]> out %a<0 [4, 4] [4, 1]>
  func.return
}

// -----

// CHECK: the lane program and the operands disagree on the output or the reductions
func.func @main(%a: !tile.buffer<sram, 4x4xf32>) {
  tile.pass "out a" over 4 by 4 stream %a<0 [4, 4] [4, 1]>
  func.return
}

// -----

// CHECK: ids are i32
func.func @main(%i: !tile.buffer<sram, 4xi8>, %t: !tile.buffer<dram, 9x4xf32>, %r: !tile.buffer<sram, 4x4xf32>) {
  tile.gather ids %i<0 [4] [1]> table %t<0 [9, 4] [4, 1]> rows %r<0 [4, 4] [4, 1]> limit 9
  func.return
}
