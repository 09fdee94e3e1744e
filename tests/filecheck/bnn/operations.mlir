// RUN: attnc-opt %s | attnc-opt | filecheck %s
// RUN: attnc-opt %s --print-op-generic | attnc-opt | filecheck %s

func.func @main(%x: tensor<1x17x64xf32>, %sums: tensor<1x17x64xi32>, %t: tensor<64xf32>, %u: tensor<64xi32>, %f: tensor<64xi1>, %w: tensor<128x64x!bnn.ternary>, %b: tensor<1x17x64xi8>, %four: tensor<128x64x!bnn.int<4>>) {
  // CHECK: bnn.binarize %{{.*}} ge %{{.*}} : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64x!bnn.bipolar>
  %0 = bnn.binarize %x ge %t : (tensor<1x17x64xf32>, tensor<64xf32>) -> tensor<1x17x64x!bnn.bipolar>
  // CHECK-NEXT: bnn.binarize %{{.*}} gt %{{.*}} flip %{{.*}} : tensor<64xi1> : (tensor<1x17x64xi32>, tensor<64xi32>) -> tensor<1x17x64x!bnn.unipolar>
  %1 = bnn.binarize %sums gt %u flip %f : tensor<64xi1> : (tensor<1x17x64xi32>, tensor<64xi32>) -> tensor<1x17x64x!bnn.unipolar>
  // CHECK-NEXT: bnn.compare_norm %{{.*}} scale %{{.*}} bias %{{.*}} lt %{{.*}} epsilon 1.000000e-05 : (tensor<1x17x64xf32>, tensor<64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<1x17x64xi1>
  %norm = bnn.compare_norm %x scale %t bias %t lt %t epsilon 1.0e-05 : (tensor<1x17x64xf32>, tensor<64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<1x17x64xi1>
  // CHECK-NEXT: bnn.pack %{{.*}} : tensor<1x17x64xf32> to tensor<1x17x64x!bnn.uint<2>>
  %2 = bnn.pack %x : tensor<1x17x64xf32> to tensor<1x17x64x!bnn.uint<2>>
  // CHECK-NEXT: nn.reshape %{{.*}} : tensor<1x17x64x!bnn.bipolar> to tensor<1x17x4x16x!bnn.bipolar>
  %3 = nn.reshape %0 : tensor<1x17x64x!bnn.bipolar> to tensor<1x17x4x16x!bnn.bipolar>
  // CHECK-NEXT: bnn.matmul %{{.*}}, %{{.*}} : (tensor<1x17x64x!bnn.uint<2>>, tensor<128x64x!bnn.ternary>) -> tensor<1x17x128xi32>
  %4 = bnn.matmul %2, %w : (tensor<1x17x64x!bnn.uint<2>>, tensor<128x64x!bnn.ternary>) -> tensor<1x17x128xi32>
  // CHECK-NEXT: bnn.matmul %{{.*}}, %{{.*}} : (tensor<1x17x64xi8>, tensor<128x64x!bnn.int<4>>) -> tensor<1x17x128xi32>
  %5 = bnn.matmul %b, %four : (tensor<1x17x64xi8>, tensor<128x64x!bnn.int<4>>) -> tensor<1x17x128xi32>
  // CHECK-NEXT: bnn.sum %{{.*}} : tensor<1x17x64x!bnn.unipolar> -> tensor<1x17x1xi32>
  %6 = bnn.sum %1 : tensor<1x17x64x!bnn.unipolar> -> tensor<1x17x1xi32>
  // CHECK-NEXT: bnn.unpack %{{.*}} : tensor<1x17x64x!bnn.bipolar> to tensor<1x17x64xf32>
  %7 = bnn.unpack %0 : tensor<1x17x64x!bnn.bipolar> to tensor<1x17x64xf32>
  func.return
}
