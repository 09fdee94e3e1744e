// RUN: attnc-opt %s -p integer-products,fold-constants,remove-unused | filecheck %s

// Signed bytes around 0: one product, one factor.
// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<4x8xi8>, %y: tensor<8x3xi8>) -> tensor<4x3xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %t = nn.constant dense<[1.0, 2.0, 4.0]> : tensor<3xf32>
  %a = nn.dequantize %x scale %s : tensor<f32> : tensor<4x8xi8> -> tensor<4x8xf32>
  %b = nn.dequantize %y scale %t : tensor<3xf32> axis 1 : tensor<8x3xi8> -> tensor<8x3xf32>
  // CHECK: [[SUM:%.*]] = nn.matmul %x, %y {path = "up"} : (tensor<4x8xi8>, tensor<8x3xi8>) -> tensor<4x3xi32>
  // CHECK: [[WIDE:%.*]] = nn.cast [[SUM]] {{.*}} to tensor<4x3xf32>
  // CHECK: nn.map "mul"([[WIDE]], {{.*}}) {path = "up", value = "c"}
  %c = nn.matmul %a, %b {value = "c", path = "up"} : (tensor<4x8xf32>, tensor<8x3xf32>) -> tensor<4x3xf32>
  func.return %c : tensor<4x3xf32>
}

// Unsigned bytes move by -128; their zero point is taken off by the sums of the other side.
// CHECK-LABEL: func.func @unsigned
func.func @unsigned(%x: tensor<4x8xui8>, %y: tensor<8x3xi8>) -> tensor<4x3xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %z = nn.constant dense<3> : tensor<ui8>
  %a = nn.dequantize %x scale %s : tensor<f32> zero_point %z : tensor<ui8> : tensor<4x8xui8> -> tensor<4x8xf32>
  %b = nn.dequantize %y scale %s : tensor<f32> : tensor<8x3xi8> -> tensor<8x3xf32>
  // CHECK: [[MOVED:%.*]] = nn.map "sub"(%x, %{{.*}}) : (tensor<4x8xui8>, tensor<i32>) -> tensor<4x8xi8>
  // CHECK: nn.matmul [[MOVED]], %{{.*}} -> tensor<4x3xi32>
  // CHECK: nn.constant dense<-125> : tensor<i32>
  // CHECK: nn.reduce sum %{{.*}} axes [0] : tensor<8x3xi8> -> tensor<1x3xi32>
  %c = nn.matmul %a, %b : (tensor<4x8xf32>, tensor<8x3xf32>) -> tensor<4x3xf32>
  func.return %c : tensor<4x3xf32>
}

// A scale along the axis that is summed over stays where it is.
// CHECK-LABEL: func.func @contracted
func.func @contracted(%x: tensor<4x2xi8>, %y: tensor<2x3xi8>) -> tensor<4x3xf32> {
  %s = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %t = nn.constant dense<0.5> : tensor<f32>
  %a = nn.dequantize %x scale %s : tensor<2xf32> axis 1 : tensor<4x2xi8> -> tensor<4x2xf32>
  %b = nn.dequantize %y scale %t : tensor<f32> : tensor<2x3xi8> -> tensor<2x3xf32>
  // CHECK: nn.matmul %{{.*}}, %{{.*}} : (tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  %c = nn.matmul %a, %b : (tensor<4x2xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  func.return %c : tensor<4x3xf32>
}
