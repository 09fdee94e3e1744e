// RUN: attnc-opt %s | attnc-opt | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

func.func @main() {
  // CHECK: %x = tile.tensor input "x" : !tile.buffer<dram, 100x128xf32>
  %x = tile.tensor input "x" : !tile.buffer<dram, 100x128xf32>
  // CHECK: tile.tensor weight "w" key "enc.w" : !tile.buffer<dram, 128x32xf32>
  %w = tile.tensor weight "w" key "enc.w" : !tile.buffer<dram, 128x32xf32>
  %table = tile.tensor temporary "t" : !tile.buffer<dram, 1000x128xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 100x32xf32>
  // CHECK: tile.alloc : !tile.buffer<sram, f32>
  %s = tile.alloc : !tile.buffer<sram, f32>
  %ids = tile.alloc : !tile.buffer<sram, 64xi32>
  %b = tile.alloc : !tile.buffer<sram, 128x32xf32>
  %bits = tile.alloc : !tile.buffer<sram, 64x128x!bnn.unipolar>
  %places = tile.alloc : !tile.buffer<sram, 64x32x!bnn.uint<2>>
  %flags = tile.alloc : !tile.buffer<sram, 4xi1>
  // CHECK: tile.kernel "up" path "encoder.0.ffn.up" plan {rows = 64 : i64} values [<"h", 0, 0 [100, 32] [32, 1]>] (%y) {
  tile.kernel "up" path "encoder.0.ffn.up" plan {rows = 64 : i64} values [<"h", 0, 0 [100, 32] [32, 1]>] (%y) {
    // CHECK: tile.for 2 {
    tile.for 2 {
      %a = tile.alloc : !tile.buffer<sram, 64x128xf32>
      %c = tile.alloc : !tile.buffer<acc, 64x32xf32>
      %d = tile.alloc : !tile.buffer<sram, 64x32xf32>
      // CHECK: tile.retype %{{.*}} : !tile.buffer<acc, 64x32xf32> to !tile.buffer<acc, 64x32xi32>
      %over = tile.retype %c : !tile.buffer<acc, 64x32xf32> to !tile.buffer<acc, 64x32xi32>
      %r = tile.alloc : !tile.buffer<sram, 64xf32>
      // CHECK: tile.copy %x<8192 * d0 [min(64, -64 * d0 + 100), 128] [128, 1]> to %a<0 [min(64, -64 * d0 + 100), 128] [128, 1]>
      tile.copy %x<8192 * d0 [min(64, -64 * d0 + 100), 128] [128, 1]> to %a<0 [min(64, -64 * d0 + 100), 128] [128, 1]>
      // CHECK: tile.copy %x<0 [64, 128] [128, 1]> to %a<0 [64, 128] [128, 1]> count %ids<0 [1] [1]>
      tile.copy %x<0 [64, 128] [128, 1]> to %a<0 [64, 128] [128, 1]> count %ids<0 [1] [1]>
      // CHECK: tile.gather ids %ids<0 [64] [1]> table %table<0 [1000, 128] [128, 1]> rows %a<0 [64, 128] [128, 1]> limit 1000
      tile.gather ids %ids<0 [64] [1]> table %table<0 [1000, 128] [128, 1]> rows %a<0 [64, 128] [128, 1]> limit 1000
      // CHECK: tile.top 8 of %a<0 [64, 128] [128, 1]> into %bits<0 [64, 128] [128, 1]>
      tile.top 8 of %a<0 [64, 128] [128, 1]> into %bits<0 [64, 128] [128, 1]>
      // CHECK: tile.compact %bits<0 [64, 128] [128, 1]> into %ids<0 [64] [1]> count %ids<0 [1] [1]>
      tile.compact %bits<0 [64, 128] [128, 1]> into %ids<0 [64] [1]> count %ids<0 [1] [1]>
      // CHECK: tile.pack %bits<0 [64, 128] [128, 1]> into %ids<0 [1] [1]> window 128 width 4
      tile.pack %bits<0 [64, 128] [128, 1]> into %ids<0 [1] [1]> window 128 width 4
      // CHECK: tile.masked left f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> accumulate<d0> mask %bits<0 [64, 128] [128, 1]> rows %ids<0 [1] [1]> limit 2048 window 128 width 4
      tile.masked left f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> accumulate<d0> mask %bits<0 [64, 128] [128, 1]> rows %ids<0 [1] [1]> limit 2048 window 128 width 4
      // CHECK: tile.masked left f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> mask %bits<0 [64, 128] [128, 1]> limit 300 window 128 width 4
      tile.masked left f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> mask %bits<0 [64, 128] [128, 1]> limit 300 window 128 width 4
      // CHECK: tile.scatter ids %ids<0 [64] [1]> table %table<0 [1000, 128] [128, 1]> rows %a<0 [64, 128] [128, 1]> limit 1000
      tile.scatter ids %ids<0 [64] [1]> table %table<0 [1000, 128] [128, 1]> rows %a<0 [64, 128] [128, 1]> limit 1000
      // CHECK: tile.product f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> accumulate<d0>
      tile.product f32 %a<0 [64, 128] [128, 1]> by %b<0 [128, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> accumulate<d0>
      // CHECK: tile.structured "2:4" f32 %a<0 [64, 128] [128, 1]> by %b<0 [64, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> at %places<0 [64, 32] [32, 1]>
      tile.structured "2:4" f32 %a<0 [64, 128] [128, 1]> by %b<0 [64, 32] [32, 1]> into %c<0 [64, 32] [32, 1]> at %places<0 [64, 32] [32, 1]>
      // CHECK: tile.product f32 %a<0 [64, 32] [128, 1]> by transposed %b<0 [128, 32] [32, 1]> into %c<0 [64, 128] [128, 1]>
      tile.product f32 %a<0 [64, 32] [128, 1]> by transposed %b<0 [128, 32] [32, 1]> into %c<0 [64, 128] [128, 1]>
      // CHECK: tile.pass "r0 = add(a, c0); out r0; reduce max(r0)" over 64 by 32 stream %c<0 [64, 32] [32, 1]> scalar %s<0 [] []> out %d<0 [64, 32] [32, 1]> across columns %r<0 [64] [1]> accumulate<d0> {stage = 1 : i64}
      tile.pass "r0 = add(a, c0); out r0; reduce max(r0)" over 64 by 32 stream %c<0 [64, 32] [32, 1]> scalar %s<0 [] []> out %d<0 [64, 32] [32, 1]> across columns %r<0 [64] [1]> accumulate<d0> {stage = 1 : i64}
    }
  }
  func.return
}
