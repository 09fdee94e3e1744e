// RUN: attnc-opt %s -p lower-tile | filecheck %s

func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 100x64xbf16>
  %ids = tile.tensor input "ids" : !tile.buffer<dram, 16xi32>
  %y = tile.tensor output "y" : !tile.buffer<dram, 64x100xf32>
  tile.kernel "one" (%y) {
    %i = tile.alloc : !tile.buffer<sram, 16xi32>
    tile.copy %ids<0 [16] [1]> to %i<0 [16] [1]>
    tile.for 4 {
      %a = tile.alloc : !tile.buffer<sram, 32x64xbf16>
      %b = tile.alloc : !tile.buffer<sram, 64x64xbf16>
      %c = tile.alloc : !tile.buffer<acc, 32x64xf32>
      %o = tile.alloc : !tile.buffer<sram, 32x64xf32>
      %s = tile.alloc : !tile.buffer<sram, 32xf32>
      // A size that is cut short stays affine; offsets and strides become bytes.
      // CHECK: isa.ld.block element 2, dram %x<4096 * d0>, chip %a<0>, n2 min(32, -32 * d0 + 100), n3 64, dram_stride2 128, dram_stride3 2, chip_stride2 128, chip_stride3 2
      tile.copy %x<2048 * d0 [min(32, -32 * d0 + 100), 64] [64, 1]> to %a<0 [min(32, -32 * d0 + 100), 64] [64, 1]>
      // What a register holds of the outermost extent is loaded.
      // CHECK: isa.load.extent queue "ld" register 0, address %i<0>, maximum 32
      // CHECK: isa.ld.block element 2, dram %x<0>, chip %a<0>, n2 -1, n3 64, dram_stride2 128, dram_stride3 2, chip_stride2 128, chip_stride3 2
      tile.copy %x<0 [32, 64] [64, 1]> to %a<0 [32, 64] [64, 1]> count %i<0 [1] [1]>
      // CHECK: isa.ld.gather table %x<0>, pitch 128, limit 100, ids %i<0>, count 16, row_bytes 128, chip %b<128>, chip_stride 256
      tile.gather ids %i<0 [16] [1]> table %x<0 [100, 64] [64, 1]> rows %b<64 [16, 64] [128, 1]> limit 100
      // CHECK: isa.mx.product mode bf16, acc %c<0>, a %a<0>, b %b<0>, m min(32, -32 * d0 + 100), n 64, k 64, acc_stride 256, a_stride 128, b_stride 128, transpose_b 1
      tile.product bf16 %a<0 [min(32, -32 * d0 + 100), 64] [64, 1]> by transposed %b<0 [64, 64] [64, 1]> into %c<0 [min(32, -32 * d0 + 100), 64] [64, 1]>
      %p = tile.alloc : !tile.buffer<sram, 32x64x!bnn.uint<2>>
      // CHECK: isa.mx.structured mode bf16, acc %c<0>, a %a<0>, b %b<0>, m min(32, -32 * d0 + 100), n 64, k 64, acc_stride 256, a_stride 128, b_stride 128, indices %p<0>, indices_stride 16, kept 2, group 4
      tile.structured "2:4" bf16 %a<0 [min(32, -32 * d0 + 100), 64] [64, 1]> by %b<0 [32, 64] [64, 1]> into %c<0 [min(32, -32 * d0 + 100), 64] [64, 1]> at %p<0 [32, 64] [64, 1]>
      // CHECK: isa.vx.pass program "r0 = mul(a, c0); r1 = add(r0, c1); out r1; reduce max(r1)" rows 32, columns 64, a %c<0>, a_stride 256, a_format f32, out %o<0>, out_stride 256, out_format f32, c0 %s<0>, c0_kind column, c0_format f32, c1 %s<4>, c1_kind scalar, c1_format f32, reduction0 %s<0>, reduction0_direction each_row, accumulate min(d0, 1) {stage = 1 : i64}
      tile.pass "r0 = mul(a, c0); r1 = add(r0, c1); out r1; reduce max(r1)" over 32 by 64 stream %c<0 [32, 64] [64, 1]> column %s<0 [32] [1]> scalar %s<1 [] []> out %o<0 [32, 64] [64, 1]> across columns %s<0 [32] [1]> accumulate<d0> {stage = 1 : i64}
      // CHECK: isa.st.block element 4, dram %y<128 * d0>, chip %o<0>, n2 64, n3 min(32, -32 * d0 + 100), dram_stride2 400, dram_stride3 4, chip_stride2 4, chip_stride3 256 {stage = 1 : i64}
      tile.copy %o<0 [64, min(32, -32 * d0 + 100)] [1, 64]> to %y<32 * d0 [64, min(32, -32 * d0 + 100)] [100, 1]> {stage = 1 : i64}
    }
  }
  func.return
}
// CHECK-NOT: tile.copy
