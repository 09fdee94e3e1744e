// RUN: attnc-opt %s --split-input-file -p 'merge-products,remove-unused' | filecheck %s

// Columns side by side, with what follows each; a number that all share stays one.

// CHECK: func.func @main
func.func @main(%x: tensor<2x4xf32>) -> (tensor<2x2xf32>, tensor<2x3xf32>) {
  // CHECK: [[W:%.*]] = nn.constant #nn.ref<"concat({{.*}}; axis=1)"> {path = "encoder.0.attention.q+k"} : tensor<4x5xf32>
  // CHECK: [[Y:%.*]] = nn.matmul %x, [[W]] {path = "encoder.0.attention.q+k"}
  // CHECK: [[B:%.*]] = nn.constant #nn.ref<"columns({{.*}}; widths=2,3)"> {{.*}} : tensor<5xf32>
  // CHECK: [[S:%.*]] = nn.map "add"([[Y]], [[B]])
  // CHECK: [[ONE:%.*]] = nn.constant dense<7.000000e+00> : tensor<f32>
  // CHECK: [[M:%.*]] = nn.map "mul"([[S]], [[ONE]])
  // CHECK: [[Q:%.*]] = nn.slice [[M]] starts [0, 0] steps [1, 1] {{.*}}value = "queries"
  // CHECK: [[K:%.*]] = nn.slice [[M]] starts [0, 2] steps [1, 1]
  %wq = nn.constant dense<1.0> : tensor<4x2xf32>
  %q = nn.matmul %x, %wq {path = "encoder.0.attention.q"} : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  %bq = nn.constant dense<2.0> : tensor<f32>
  %q1 = nn.map "add"(%q, %bq) : (tensor<2x2xf32>, tensor<f32>) -> tensor<2x2xf32>
  %seven = nn.constant dense<7.0> : tensor<f32>
  %q2 = nn.map "mul"(%q1, %seven) {value = "queries"} : (tensor<2x2xf32>, tensor<f32>) -> tensor<2x2xf32>
  %wk = nn.constant dense<3.0> : tensor<4x3xf32>
  %k = nn.matmul %x, %wk {path = "encoder.0.attention.k"} : (tensor<2x4xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  %bk = nn.constant dense<[4.0, 5.0, 6.0]> : tensor<3xf32>
  %k1 = nn.map "add"(%k, %bk) : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  %k2 = nn.map "mul"(%k1, %seven) : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
  // CHECK: func.return [[Q]], [[K]]
  func.return %q2, %k2 : tensor<2x2xf32>, tensor<2x3xf32>
}

// -----

// What follows differs: the products stay apart.

// CHECK: func.func @main
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x2xf32> {
  // CHECK-NOT: nn.slice
  %w = nn.constant dense<1.0> : tensor<4x2xf32>
  %gate = nn.matmul %x, %w : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  %g = nn.map "silu"(%gate) : (tensor<2x2xf32>) -> tensor<2x2xf32>
  %v = nn.constant dense<2.0> : tensor<4x2xf32>
  %up = nn.matmul %x, %v : (tensor<2x4xf32>, tensor<4x2xf32>) -> tensor<2x2xf32>
  %y = nn.map "mul"(%g, %up) : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
  func.return %y : tensor<2x2xf32>
}
