// RUN: attnc-opt %s | attnc-opt | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

func.func @main() {
  %x = tile.tensor input "x" : !tile.buffer<dram, 64x64xf32>
  %w = tile.tensor weight "w" key "w" : !tile.buffer<dram, 64x32xf32>
  %ids = tile.alloc : !tile.buffer<sram, 16xi32>
  tile.for 4 {
    %a = tile.alloc : !tile.buffer<sram, 32x64xf32>
    %b = tile.alloc : !tile.buffer<sram, 64x32xf32>
    %c = tile.alloc : !tile.buffer<acc, 32x32xf32>
    // CHECK: isa.ld.block element 4, dram %x<4096 * d0>, chip %a<0>, n2 min(16, -16 * d0 + 40), n3 64, dram_stride2 256, dram_stride3 4, chip_stride2 -256, chip_stride3 4
    isa.ld.block element 4, dram %x<4096 * d0>, chip %a<0>, n2 min(16, -16 * d0 + 40), n3 64, dram_stride2 256, dram_stride3 4, chip_stride2 -256, chip_stride3 4
    // CHECK: isa.ld.gather table %w<0>, pitch 128, limit 64, ids %ids<0>, count 16, row_bytes 128, chip %b<0>, chip_stride 128
    isa.ld.gather table %w<0>, pitch 128, limit 64, ids %ids<0>, count 16, row_bytes 128, chip %b<0>, chip_stride 128
    // CHECK: isa.mx.product mode f32, acc %c<0>, a %a<0>, b %b<0>, m 32, n 32, k 64, acc_stride 128, a_stride 256, b_stride 128, accumulate d0, transpose_b 1
    isa.mx.product mode f32, acc %c<0>, a %a<0>, b %b<0>, m 32, n 32, k 64, acc_stride 128, a_stride 256, b_stride 128, accumulate d0, transpose_b 1
    // CHECK: isa.vx.pass program "r0 = exp(a); out r0; reduce sum(r0)" rows 32, columns 32, a %c<0>, a_stride 128, a_format f32, out %a<0>, out_stride 256, out_format bf16, reduction0 %b<0>, reduction0_direction each_row {stage = 1 : i64}
    isa.vx.pass program "r0 = exp(a); out r0; reduce sum(r0)" rows 32, columns 32, a %c<0>, a_stride 128, a_format f32, out %a<0>, out_stride 256, out_format bf16, reduction0 %b<0>, reduction0_direction each_row {stage = 1 : i64}
  }
  // CHECK: isa.set.extent queue "mx" register 3, value 5, maximum 8
  isa.set.extent queue "mx" register 3, value 5, maximum 8
  // CHECK: isa.ld.block element 1, dram %x<0>, chip %ids<0>, n3 -4, dram_stride3 1, chip_stride3 1
  isa.ld.block element 1, dram %x<0>, chip %ids<0>, n3 -4, dram_stride3 1, chip_stride3 1
  func.return
}
