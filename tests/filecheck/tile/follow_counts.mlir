// RUN: attnc-opt %s -p follow-counts | filecheck %s
// RUN: attnc-opt %s -p follow-counts | attnc-opt | filecheck %s

// Rows are gathered by a list whose length the run finds; so many are multiplied with weights, and with one another.
func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 20x64xf32>
  %w = tile.tensor weight "w" key "w" : !tile.buffer<dram, 64x32xf32>
  %y = tile.tensor temporary "y" : !tile.buffer<dram, 16x32xf32>
  %z = tile.tensor output "z" : !tile.buffer<dram, 1x32xf32>
  %bits = tile.alloc : !tile.buffer<sram, 1x20x!bnn.unipolar>
  %ids = tile.alloc : !tile.buffer<sram, 20xi32>
  %count = tile.alloc : !tile.buffer<sram, 1xi32>
  %rows = tile.alloc : !tile.buffer<sram, 16x64xf32>
  tile.kernel "chosen" (%rows) {
    // CHECK: tile.compact {{.*}} as 0
    tile.compact %bits<0 [1, 20] [24, 1]> into %ids<0 [20] [1]> count %count<0 [1] [1]> as 0
    // CHECK: tile.gather ids %{{.*}}<0 [min(16, count n0)] [1]> table %x<0 [20, 64] [64, 1]> rows %{{.*}}<0 [min(16, count n0), 64] [64, 1]>
    tile.gather ids %ids<0 [16] [1]> table %x<0 [20, 64] [64, 1]> rows %rows<0 [16, 64] [64, 1]> limit 20
  }
  tile.kernel "product" (%y) {
    tile.for 2 {
      %b = tile.alloc : !tile.buffer<sram, 64x32xf32>
      %acc = tile.alloc : !tile.buffer<acc, 8x32xf32>
      %out = tile.alloc : !tile.buffer<sram, 8x32xf32>
      // Weights that no row asks for are not loaded: of 64 rows all, where the first token of the tile is there.
      // CHECK: tile.copy %w<0 [min(64, count 64 * n0 + -512 * d0), 32] [32, 1]>
      tile.copy %w<0 [64, 32] [32, 1]> to %b<0 [64, 32] [32, 1]>
      // CHECK: tile.product f32 %{{.*}}<512 * d0 [min(8, count n0 + -8 * d0), 64] [64, 1]> by %{{.*}}<0 [64, 32] [32, 1]> into %{{.*}}<0 [min(8, count n0 + -8 * d0), 32] [32, 1]>
      tile.product f32 %rows<512 * d0 [8, 64] [64, 1]> by %b<0 [64, 32] [32, 1]> into %acc<0 [8, 32] [32, 1]>
      // CHECK: over min(8, count n0 + -8 * d0) by 32
      tile.pass "out a" over 8 by 32 stream %acc<0 [8, 32] [32, 1]> out %out<0 [8, 32] [32, 1]>
      // Rows that lie side by side are stored as one run.
      // CHECK: tile.copy %{{.*}}<0 [min(256, count 32 * n0 + -256 * d0)] [1]> to %y<256 * d0 [min(256, count 32 * n0 + -256 * d0)] [1]>
      tile.copy %out<0 [256] [1]> to %y<256 * d0 [256] [1]>
    }
  }
  tile.kernel "scores" (%y) {
    tile.for 2 {
      %keys = tile.alloc : !tile.buffer<sram, 8x32xf32>
      %acc = tile.alloc : !tile.buffer<acc, 16x8xf32>
      %sum = tile.alloc : !tile.buffer<acc, 16x32xf32>
      %weights = tile.alloc : !tile.buffer<sram, 16x8xf32>
      tile.copy %y<256 * d0 [8, 32] [32, 1]> to %keys<0 [8, 32] [32, 1]>
      // CHECK: tile.product f32 %{{.*}}<0 [min(16, count n0), 32] [64, 1]> by transposed %{{.*}}<0 [min(8, count n0 + -8 * d0), 32] [32, 1]> into %{{.*}}<0 [min(16, count n0), min(8, count n0 + -8 * d0)] [8, 1]>
      tile.product f32 %rows<0 [16, 32] [64, 1]> by transposed %keys<0 [8, 32] [32, 1]> into %acc<0 [16, 8] [8, 1]>
      // CHECK: over min(16, count n0) by min(8, count n0 + -8 * d0)
      tile.pass "out a" over 16 by 8 stream %acc<0 [16, 8] [8, 1]> out %weights<0 [16, 8] [8, 1]>
      // A sum over none of the keys is zeros.
      // CHECK: tile.pass "out 0.0" over min(16, count n0) by 32 out %{{.*}}<0
      // CHECK-NEXT: tile.product f32 %{{.*}}<0 [min(16, count n0), min(8, count n0 + -8 * d0)] [8, 1]>
      tile.product f32 %weights<0 [16, 8] [8, 1]> by %keys<0 [8, 32] [32, 1]> into %sum<0 [16, 32] [32, 1]>
    }
  }
  tile.kernel "first" (%z) {
    // The first token is always there.
    %first = tile.alloc : !tile.buffer<sram, 1x32xf32>
    // CHECK: tile.copy %y<0 [1, 32] [32, 1]>
    tile.copy %y<0 [1, 32] [32, 1]> to %first<0 [1, 32] [32, 1]>
    tile.copy %first<0 [1, 32] [32, 1]> to %z<0 [1, 32] [32, 1]>
  }
  func.return
}
