// RUN: attnc-opt %s -p integer-attention,fold-constants,remove-unused | filecheck %s

// Weights in uint8 around 0 move by -128, which the sums of the values take off again.
// CHECK: func.func @main
func.func @main(%q: tensor<1x2x3x4xi8>, %k: tensor<1x2x4x5xi8>, %v: tensor<1x2x5x6xi8>) -> tensor<1x2x3x6xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %ps = nn.constant dense<0.004> : tensor<f32>
  %pz = nn.constant dense<0> : tensor<ui8>
  %c = nn.constant dense<0.125> : tensor<f32>
  %qf = nn.dequantize %q scale %s : tensor<f32> : tensor<1x2x3x4xi8> -> tensor<1x2x3x4xf32>
  %kf = nn.dequantize %k scale %s : tensor<f32> : tensor<1x2x4x5xi8> -> tensor<1x2x4x5xf32>
  %vf = nn.dequantize %v scale %s : tensor<f32> : tensor<1x2x5x6xi8> -> tensor<1x2x5x6xf32>
  %scores = nn.matmul %qf, %kf {path = "attention.scores"} : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %scaled = nn.map "mul"(%scores, %c) : (tensor<1x2x3x5xf32>, tensor<f32>) -> tensor<1x2x3x5xf32>
  %p = nn.softmax %scaled axis 3 : tensor<1x2x3x5xf32> -> tensor<1x2x3x5xf32>
  %p8 = nn.quantize %p scale %ps : tensor<f32> zero_point %pz : tensor<ui8> : tensor<1x2x3x5xf32> -> tensor<1x2x3x5xui8>
  %pf = nn.dequantize %p8 scale %ps : tensor<f32> zero_point %pz : tensor<ui8> : tensor<1x2x3x5xui8> -> tensor<1x2x3x5xf32>
  // CHECK: [[KEYS:%.*]] = nn.transpose %k permutation [0, 1, 3, 2]
  // CHECK: [[SUMS:%.*]] = nn.reduce sum %v axes [2] {{.*}} -> tensor<1x2x1x6xi32>
  // CHECK: [[OFFSET:%.*]] = nn.map "mul"([[SUMS]], %{{.*}})
  // CHECK: sattn.attention q %q k [[KEYS]] v %v q_scale {{.*}} p_scale %{{.*}} : tensor<1x1x1x1xf32> p_zero_point -128 v_offset [[OFFSET]] : tensor<1x2x1x6xi32> scale 1.250000e-01 {{.*}}path = "attention.scores"
  // CHECK-SAME: (tensor<1x2x3x4xi8>, tensor<1x2x5x4xi8>, tensor<1x2x5x6xi8>) -> tensor<1x2x3x6xf32>
  %o = nn.matmul %pf, %vf {path = "attention.values", value = "context"} : (tensor<1x2x3x5xf32>, tensor<1x2x5x6xf32>) -> tensor<1x2x3x6xf32>
  func.return %o : tensor<1x2x3x6xf32>
}
// CHECK-NOT: nn.matmul

// Zero points of queries, keys and values are taken off by sums too; weights by theirs as the attention makes them.
// CHECK: func.func @zero_points
func.func @zero_points(%q: tensor<1x2x3x4xi8>, %k: tensor<1x2x4x5xi8>, %v: tensor<1x2x5x6xi8>) -> tensor<1x2x3x6xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %ps = nn.constant dense<0.004> : tensor<f32>
  %pz = nn.constant dense<0> : tensor<ui8>
  %qz = nn.constant dense<3> : tensor<i8>
  %kz = nn.constant dense<-5> : tensor<i8>
  %vz = nn.constant dense<7> : tensor<i8>
  %qf = nn.dequantize %q scale %s : tensor<f32> zero_point %qz : tensor<i8> : tensor<1x2x3x4xi8> -> tensor<1x2x3x4xf32>
  %kf = nn.dequantize %k scale %s : tensor<f32> zero_point %kz : tensor<i8> : tensor<1x2x4x5xi8> -> tensor<1x2x4x5xf32>
  %vf = nn.dequantize %v scale %s : tensor<f32> zero_point %vz : tensor<i8> : tensor<1x2x5x6xi8> -> tensor<1x2x5x6xf32>
  %scores = nn.matmul %qf, %kf : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %p = nn.softmax %scores axis 3 : tensor<1x2x3x5xf32> -> tensor<1x2x3x5xf32>
  %p8 = nn.quantize %p scale %ps : tensor<f32> zero_point %pz : tensor<ui8> : tensor<1x2x3x5xf32> -> tensor<1x2x3x5xui8>
  %pf = nn.dequantize %p8 scale %ps : tensor<f32> zero_point %pz : tensor<ui8> : tensor<1x2x3x5xui8> -> tensor<1x2x3x5xf32>
  // CHECK: nn.reduce sum %v axes [2] {{.*}} -> tensor<1x2x1x6xi32>
  // CHECK: nn.reduce sum %q axes [3] {{.*}} -> tensor<1x2x3x1xi32>
  // CHECK: nn.reduce sum {{.*}} axes [3] {{.*}} -> tensor<1x2x5x1xi32>
  // CHECK: sattn.attention {{.*}} p_zero_point -128 v_offset {{.*}} q_offset {{.*}} : tensor<1x2x3x1xi32> k_offset {{.*}} : tensor<1x2x5x1xi32> v_zero_point 7
  %o = nn.matmul %pf, %vf : (tensor<1x2x3x5xf32>, tensor<1x2x5x6xf32>) -> tensor<1x2x3x6xf32>
  func.return %o : tensor<1x2x3x6xf32>
}
// CHECK-NOT: nn.matmul
