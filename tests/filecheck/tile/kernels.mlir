// RUN: attnc-opt %s -p tile-kernels --split-input-file | filecheck %s

// A residual and its norm: one kernel of two passes, rows in tiles.
// CHECK:      tile.tensor input "x" : !tile.buffer<dram, 2x16x64xf32>
// CHECK:      tile.tensor output "y" : !tile.buffer<dram, 2x16x64xf32>
// CHECK:      tile.kernel "rowwise_0" path "encoder.0.norm"
// CHECK:      reduce mean(r0); reduce variance(r0)
// CHECK-NEXT: tile.pass "r0 = sub(a, c0); r1 = add(c1, 1e-05); r2 = rsqrt(r1); r3 = mul(r0, r2); r4 = mul(r3, c2); out r4"
// CHECK-NOT:  tile.kernel
// CHECK:      func.return
func.func @main(%x: tensor<2x16x64xf32> {onnx.name = "x"}, %g: tensor<64xf32> {onnx.name = "g"}) -> (tensor<2x16x64xf32> {onnx.name = "y"}) {
  %0 = nn.map "add"(%x, %x) : (tensor<2x16x64xf32>, tensor<2x16x64xf32>) -> tensor<2x16x64xf32>
  %1 = nn.layer_norm %0 scale %g : tensor<64xf32> axis 2 epsilon 1.000000e-05 {path = "encoder.0.norm"} : tensor<2x16x64xf32> -> tensor<2x16x64xf32>
  func.return %1 : tensor<2x16x64xf32>
}

// -----

// Merging heads is no copy: the producer writes where the reshape reads.
// CHECK:     tile.tensor output "output_0" : !tile.buffer<dram, 1x5x24xf32>
// CHECK:     tile.kernel "rowwise_0"
// CHECK-NOT: tile.kernel
// CHECK:     func.return
func.func @main(%x: tensor<1x4x5x6xf32>) -> tensor<1x5x24xf32> {
  %0 = nn.map "exp"(%x) : (tensor<1x4x5x6xf32>) -> tensor<1x4x5x6xf32>
  %1 = nn.transpose %0 permutation [0, 2, 1, 3] {value = "merged"} : tensor<1x4x5x6xf32> -> tensor<1x5x4x6xf32>
  %2 = nn.reshape %1 : tensor<1x5x4x6xf32> to tensor<1x5x24xf32>
  func.return %2 : tensor<1x5x24xf32>
}

// -----

// A product takes its bias and activation along, through a reshape; what kernels leave is said by name.
// CHECK:     tile.kernel "matmul_0"
// CHECK-SAME: values [<"h", 0, 0 [1, 8, 16] [0, 16, 1]>]
// CHECK:     gelu
// CHECK-NOT: tile.kernel
// CHECK:     func.return
func.func @main(%x: tensor<8x32xf32>, %w: tensor<32x16xf32>, %b: tensor<16xf32>) -> tensor<1x8x16xf32> {
  %0 = nn.matmul %x, %w : (tensor<8x32xf32>, tensor<32x16xf32>) -> tensor<8x16xf32>
  %1 = nn.reshape %0 : tensor<8x16xf32> to tensor<1x8x16xf32>
  %2 = nn.map "add"(%1, %b) : (tensor<1x8x16xf32>, tensor<16xf32>) -> tensor<1x8x16xf32>
  %3 = nn.map "gelu"(%2) {value = "h"} : (tensor<1x8x16xf32>) -> tensor<1x8x16xf32>
  func.return %3 : tensor<1x8x16xf32>
}
