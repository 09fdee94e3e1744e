// RUN: attnc-opt %s -p lower-tile | filecheck %s

func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 16x64xf32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 16x64xf32>
  %bits = tile.alloc : !tile.buffer<sram, 1x16x!bnn.unipolar>
  %ids = tile.alloc : !tile.buffer<sram, 16xi32>
  %count = tile.alloc : !tile.buffer<sram, 1xi32>
  // Of two tiles of rows, and of both of 64 elements a row: four sizes that the count leaves, made at once.
  // CHECK: %[[STORED:.*]] = tile.tensor weight {{.*}} : !tile.buffer<dram, 3x4xi32>
  // CHECK: %[[SIZES:.*]] = tile.alloc : !tile.buffer<sram, 4xi32>
  tile.kernel "chosen" (%y) {
    // CHECK: isa.sx.compact
    // CHECK: isa.ld.block element 4, dram %[[STORED]]<0>
    // CHECK: isa.vx.pass program "r0 = mul(a, c1); r1 = add(r0, b); r2 = min(r1, c0); r3 = max(r2, 0); out r3"
    tile.compact %bits<0 [1, 16] [16, 1]> into %ids<0 [16] [1]> count %count<0 [1] [1]> as 0
  }
  tile.kernel "rows" (%y) {
    tile.for 2 {
      %a = tile.alloc : !tile.buffer<sram, 8x64xf32>
      // CHECK: isa.load.extent queue "ld" register 0, address %[[SIZES]]<4 * d0>, maximum 8
      // CHECK-NEXT: isa.ld.block element 4, dram %{{.*}}<2048 * d0>, chip %{{.*}}<0>, n2 -1, n3 64
      tile.copy %x<512 * d0 [min(8, count n0 + -8 * d0), 64] [64, 1]> to %a<0 [min(8, count n0 + -8 * d0), 64] [64, 1]>
      // CHECK: isa.load.extent queue "vx" register 1, address %[[SIZES]]<4 * d0>, maximum 8
      // CHECK-NEXT: isa.vx.pass {{.*}} rows -2, columns 64
      tile.pass "out a" over min(8, count n0 + -8 * d0) by 64 stream %a<0 [min(8, count n0 + -8 * d0), 64] [64, 1]> out %a<0 [min(8, count n0 + -8 * d0), 64] [64, 1]>
      // The same size in the same queue is loaded once.
      // CHECK-NEXT: isa.vx.pass {{.*}} rows -2, columns 64
      tile.pass "r0 = abs(a); out r0" over min(8, count n0 + -8 * d0) by 64 stream %a<0 [min(8, count n0 + -8 * d0), 64] [64, 1]> out %a<0 [min(8, count n0 + -8 * d0), 64] [64, 1]>
      // CHECK-NEXT: isa.load.extent queue "st" register 2, address %[[SIZES]]<4 * d0 + 8>, maximum 512
      // CHECK-NEXT: isa.st.block element 4, dram %{{.*}}<2048 * d0>, chip %{{.*}}<0>, n3 -3
      tile.copy %a<0 [min(512, count 64 * n0 + -512 * d0)] [1]> to %y<512 * d0 [min(512, count 64 * n0 + -512 * d0)] [1]>
    }
  }
  func.return
}
