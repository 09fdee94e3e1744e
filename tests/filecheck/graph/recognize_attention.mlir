// RUN: attnc-opt %s -p recognize-attention,simplify-layout,fold-constants,recognize-grouped-heads,simplify-layout,remove-unused --split-input-file --print-debuginfo | filecheck %s

// sqrt(scale) on queries and keys, keys turned, a mask that is added: all nodes in one location.
// CHECK:      %{{.*}} = sattn.attention q %q k %k v %v mask %m : tensor<1x1x3x3xf32> scale 2.500000e-01 {value = "y"} : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32> loc(fused[
// CHECK-SAME: "kscale"
// CHECK-SAME: "softmax"
// CHECK-NEXT: func.return %{{.*}}
func.func @main(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x3x4xf32>, %v: tensor<1x2x3x4xf32>, %m: tensor<1x1x3x3xf32>) -> tensor<1x2x3x4xf32> {
  %half = nn.constant dense<0.5> : tensor<f32>
  %qs = nn.map "mul"(%q, %half) : (tensor<1x2x3x4xf32>, tensor<f32>) -> tensor<1x2x3x4xf32> loc("qscale")
  %kt = nn.transpose %k permutation [0, 1, 3, 2] : tensor<1x2x3x4xf32> -> tensor<1x2x4x3xf32> loc("turn")
  %ks = nn.map "mul"(%kt, %half) : (tensor<1x2x4x3xf32>, tensor<f32>) -> tensor<1x2x4x3xf32> loc("kscale")
  %s = nn.matmul %qs, %ks : (tensor<1x2x3x4xf32>, tensor<1x2x4x3xf32>) -> tensor<1x2x3x3xf32> loc("scores")
  %a = nn.map "add"(%s, %m) : (tensor<1x2x3x3xf32>, tensor<1x1x3x3xf32>) -> tensor<1x2x3x3xf32> loc("mask")
  %p = nn.softmax %a axis 3 : tensor<1x2x3x3xf32> -> tensor<1x2x3x3xf32> loc("softmax")
  %y = nn.matmul %p, %v {value = "y"} : (tensor<1x2x3x3xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32> loc("values")
  func.return %y : tensor<1x2x3x4xf32>
}

// -----

// A constant triangle of the least float hides later keys: causal, nothing left of the mask.
// CHECK:      sattn.attention q %q k %q v %q scale 1.000000e+00 causal empty_row zero :
// CHECK-NEXT: func.return
func.func @main(%q: tensor<1x1x3x4xf32>) -> tensor<1x1x3x4xf32> {
  %m = nn.constant dense<[[0.0, -3.40282347e+38, -3.40282347e+38], [0.0, 0.0, -3.40282347e+38], [0.0, 0.0, 0.0]]> : tensor<3x3xf32>
  %s = nn.matmul %q, %q transpose_rhs : (tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32>) -> tensor<1x1x3x3xf32>
  %a = nn.map "add"(%s, %m) : (tensor<1x1x3x3xf32>, tensor<3x3xf32>) -> tensor<1x1x3x3xf32>
  %p = nn.softmax %a axis 3 empty_row zero : tensor<1x1x3x3xf32> -> tensor<1x1x3x3xf32>
  %y = nn.matmul %p, %q : (tensor<1x1x3x3xf32>, tensor<1x1x3x4xf32>) -> tensor<1x1x3x4xf32>
  func.return %y : tensor<1x1x3x4xf32>
}

// -----

// -10000 does not hide a score for certain: the mask stays.
// CHECK: sattn.attention q %q k %q v %q mask %{{.*}} : tensor<2x2xf32> scale 1.000000e+00 :
func.func @main(%q: tensor<1x1x2x4xf32>) -> tensor<1x1x2x4xf32> {
  %m = nn.constant dense<[[0.0, -10000.0], [0.0, 0.0]]> : tensor<2x2xf32>
  %s = nn.matmul %q, %q transpose_rhs : (tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>) -> tensor<1x1x2x2xf32>
  %a = nn.map "add"(%s, %m) : (tensor<1x1x2x2xf32>, tensor<2x2xf32>) -> tensor<1x1x2x2xf32>
  %p = nn.softmax %a axis 3 : tensor<1x1x2x2xf32> -> tensor<1x1x2x2xf32>
  %y = nn.matmul %p, %q : (tensor<1x1x2x2xf32>, tensor<1x1x2x4xf32>) -> tensor<1x1x2x4xf32>
  func.return %y : tensor<1x1x2x4xf32>
}

// -----

// Replaced by a finite number where a truth value says so: a row hidden everywhere is uniform.
// CHECK:      %{{.*}} = nn.map "not"(%m)
// CHECK-NEXT: sattn.attention q %q k %q v %q mask %{{.*}} : tensor<2x2xi1> scale 5.000000e-01 fill -1.000000e+09 softcap 3.000000e+01 empty_row uniform :
func.func @main(%q: tensor<1x1x2x4xf32>, %m: tensor<2x2xi1>) -> tensor<1x1x2x4xf32> {
  %two = nn.constant dense<2.0> : tensor<f32>
  %cap = nn.constant dense<30.0> : tensor<f32>
  %fill = nn.constant dense<-1.0e9> : tensor<f32>
  %s = nn.matmul %q, %q transpose_rhs : (tensor<1x1x2x4xf32>, tensor<1x1x2x4xf32>) -> tensor<1x1x2x2xf32>
  %d = nn.map "div"(%s, %two) : (tensor<1x1x2x2xf32>, tensor<f32>) -> tensor<1x1x2x2xf32>
  %c = nn.map "div"(%d, %cap) : (tensor<1x1x2x2xf32>, tensor<f32>) -> tensor<1x1x2x2xf32>
  %t = nn.map "tanh"(%c) : (tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %e = nn.map "mul"(%t, %cap) : (tensor<1x1x2x2xf32>, tensor<f32>) -> tensor<1x1x2x2xf32>
  %a = nn.map "select"(%m, %fill, %e) : (tensor<2x2xi1>, tensor<f32>, tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  %p = nn.softmax %a axis 3 : tensor<1x1x2x2xf32> -> tensor<1x1x2x2xf32>
  %y = nn.matmul %p, %q : (tensor<1x1x2x2xf32>, tensor<1x1x2x4xf32>) -> tensor<1x1x2x4xf32>
  func.return %y : tensor<1x1x2x4xf32>
}

// -----

// Heads in the batch axis, with the mask added to four axes in between; a second mask is summed with the first.
// CHECK:      nn.map "add"(%{{.*}}, %{{.*}}) : (tensor<1x1x1x3xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x3x3xf32>
// CHECK:      sattn.attention q %{{.*}} k %{{.*}} v %{{.*}} mask %{{.*}} : tensor<1x1x3x3xf32> scale 1.000000e+00 : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>)
// CHECK-NEXT: nn.reshape %{{.*}} : tensor<1x2x3x4xf32> to tensor<2x3x4xf32>
func.func @main(%q: tensor<2x3x4xf32>, %k: tensor<2x3x4xf32>, %m: tensor<1x1x1x3xf32>, %n: tensor<1x1x3x3xf32>) -> tensor<2x3x4xf32> {
  %s = nn.matmul %q, %k transpose_rhs : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x3xf32>
  %r = nn.reshape %s : tensor<2x3x3xf32> to tensor<1x2x3x3xf32>
  %a = nn.map "add"(%r, %m) : (tensor<1x2x3x3xf32>, tensor<1x1x1x3xf32>) -> tensor<1x2x3x3xf32>
  %b = nn.map "add"(%n, %a) : (tensor<1x1x3x3xf32>, tensor<1x2x3x3xf32>) -> tensor<1x2x3x3xf32>
  %f = nn.reshape %b : tensor<1x2x3x3xf32> to tensor<2x3x3xf32>
  %p = nn.softmax %f axis 2 : tensor<2x3x3xf32> -> tensor<2x3x3xf32>
  %y = nn.matmul %p, %k : (tensor<2x3x3xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  func.return %y : tensor<2x3x4xf32>
}

// -----

// Keys and values repeated for the query heads that share them.
// CHECK:      sattn.attention q %q k %k v %k scale 1.000000e+00 : (tensor<1x4x3x8xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32>)
// CHECK-NEXT: func.return
func.func @main(%q: tensor<1x4x3x8xf32>, %k: tensor<1x2x3x8xf32>) -> tensor<1x4x3x8xf32> {
  %0 = nn.reshape %k : tensor<1x2x3x8xf32> to tensor<1x2x1x3x8xf32>
  %1 = nn.broadcast %0 : tensor<1x2x1x3x8xf32> to tensor<1x2x2x3x8xf32>
  %2 = nn.reshape %1 : tensor<1x2x2x3x8xf32> to tensor<1x4x3x8xf32>
  %s = nn.matmul %q, %2 transpose_rhs : (tensor<1x4x3x8xf32>, tensor<1x4x3x8xf32>) -> tensor<1x4x3x3xf32>
  %p = nn.softmax %s axis 3 : tensor<1x4x3x3xf32> -> tensor<1x4x3x3xf32>
  %y = nn.matmul %p, %2 : (tensor<1x4x3x3xf32>, tensor<1x4x3x8xf32>) -> tensor<1x4x3x8xf32>
  func.return %y : tensor<1x4x3x8xf32>
}

// -----

// Probabilities that something else reads too are made: no fusion.
// CHECK-NOT: sattn.attention
// CHECK: nn.softmax
func.func @main(%q: tensor<1x1x3x4xf32>) -> (tensor<1x1x3x4xf32>, tensor<1x1x3x3xf32>) {
  %s = nn.matmul %q, %q transpose_rhs : (tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32>) -> tensor<1x1x3x3xf32>
  %p = nn.softmax %s axis 3 : tensor<1x1x3x3xf32> -> tensor<1x1x3x3xf32>
  %y = nn.matmul %p, %q : (tensor<1x1x3x3xf32>, tensor<1x1x3x4xf32>) -> tensor<1x1x3x4xf32>
  func.return %y, %p : tensor<1x1x3x4xf32>, tensor<1x1x3x3xf32>
}
