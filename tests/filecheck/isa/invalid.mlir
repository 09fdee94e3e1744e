// RUN: attnc-opt %s --allow-unregistered-dialect --verify-diagnostics --split-input-file | filecheck %s

// CHECK: mx.product needs k
%a, %c = "test.op"() : () -> (!tile.buffer<sram, 32x32xf32>, !tile.buffer<acc, 32x32xf32>)
isa.mx.product mode f32, acc %c<0>, a %a<0>, b %a<0>, m 32, n 32

// -----

// CHECK: n3 = 65536 is not legal
%x, %a = "test.op"() : () -> (!tile.buffer<dram, 65536xi8>, !tile.buffer<sram, 65536xi8>)
isa.ld.block element 1, dram %x<0>, chip %a<0>, n3 65536

// -----

// CHECK: n3 = 40000 * d0 reaches 80000, above 65535
%x, %a = "test.op"() : () -> (!tile.buffer<dram, 65536xi8>, !tile.buffer<sram, 65536xi8>)
tile.for 3 {
  isa.ld.block element 1, dram %x<0>, chip %a<0>, n3 40000 * d0
}

// -----

// CHECK: chip cannot lie in dram
%x = "test.op"() : () -> !tile.buffer<dram, 64xi8>
isa.ld.block element 1, dram %x<0>, chip %x<0>, n3 64

// -----

// CHECK: address chip reaches bytes 0..96 of a buffer of 64
%x, %a = "test.op"() : () -> (!tile.buffer<dram, 256xi8>, !tile.buffer<sram, 64xi8>)
tile.for 4 {
  isa.ld.block element 1, dram %x<32 * d0>, chip %a<32 * d0>, n3 32
}

// -----

// CHECK: address dram <d0> needs 1 loops, 0 enclose it
%x, %a = "test.op"() : () -> (!tile.buffer<dram, 256xi8>, !tile.buffer<sram, 64xi8>)
isa.ld.block element 1, dram %x<d0>, chip %a<0>, n3 32

// -----

// CHECK: vx.pass has no lane program
%a = "test.op"() : () -> !tile.buffer<sram, 64xf32>
isa.vx.pass rows 1, columns 64, a %a<0>, a_format f32, out %a<0>, out_format f32
